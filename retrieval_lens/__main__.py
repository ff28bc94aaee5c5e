"""`python -m retrieval_lens` is the command `retrieval-lens`."""

from retrieval_lens.cli import main

if __name__ == "__main__":
    main()
