"""Who is asking: accounts, clients, log-in pages, codes and tokens."""
