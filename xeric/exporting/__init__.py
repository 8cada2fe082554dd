"""Takes a finished run to where people work: PEFT, transformers, llama.cpp. One file per target."""
