"""Files and watched folders: CSV, gzip, Parquet, xlsx and zip, in the forms that exchanges and data sites publish."""
