"""`python -m manticore_kit …` is `manticore …`, for launchers that start a module (`accelerate launch -m`)."""

from manticore_kit.cli import main

if __name__ == "__main__":
    main()
