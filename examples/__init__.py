"""Programs that show how a thing is done, and are run by the tests."""
