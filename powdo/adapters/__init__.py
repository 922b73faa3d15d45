"""One module per outside thing; none imports another, none prints."""
