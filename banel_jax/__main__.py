"""`python -m banel_jax`."""

from banel_jax.commands.main import main

if __name__ == "__main__":
    main()
