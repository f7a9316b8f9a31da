"""Where documents come from: each source names its collections and reads them."""
