"""What is published of providers: names, prices, limits of images, tokens."""
