"""The laboratory's commands; `green_code_lab.commands` lists them."""
