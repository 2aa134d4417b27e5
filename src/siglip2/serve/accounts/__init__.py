"""Who may use the service, and what it costs them."""
