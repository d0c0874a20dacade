"""`nplm completion`: print a script for shell completion of commands and options."""

import click
from click.shell_completion import get_completion_class

EPILOG = """\b
Install, once:
  bash   nplm completion bash > ~/.nplm-complete.bash; echo '. ~/.nplm-complete.bash' >> ~/.bashrc
  zsh    nplm completion zsh > ~/.nplm-complete.zsh; echo '. ~/.nplm-complete.zsh' >> ~/.zshrc
  fish   nplm completion fish > ~/.config/fish/completions/nplm.fish
\b
Examples:
  nplm completion bash
  eval "$(nplm completion zsh)"       for this shell only
"""


@click.command("completion", epilog=EPILOG, short_help="Print a completion script for bash, zsh or fish.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for bash, zsh or fish."""
    kind = get_completion_class(shell)
    assert kind is not None  # click has all three
    click.echo(kind(ctx.find_root().command, {}, "nplm", "_NPLM_COMPLETE").source())
