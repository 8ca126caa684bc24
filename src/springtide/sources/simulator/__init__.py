"""An exchange of our own on loopback: an invented market behind Binance's REST, with faults on request."""
