"""CoinGecko: prices and candles of coins, on a budget of calls."""
