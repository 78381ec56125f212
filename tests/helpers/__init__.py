"""What several test modules share: slow twins, writers of inputs, and scripts that run in processes of their own."""
