"""Parts of the guest that are fetched once, checked and kept in a cache."""
