"""Networks from a window of raw rows to quantiles; scaling and un-scaling are layers like any other."""
