"""`labkit completion`: the script by which a shell completes verbs and names."""

from __future__ import annotations

import rich_click as click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete verbs and the names of slices, VMs and links.

    \b
    Now, in this shell:          source <(labkit completion bash)
    From now on, bash:           echo 'source <(labkit completion bash)' >> ~/.bashrc
    zsh:                         echo 'source <(labkit completion zsh)' >> ~/.zshrc
    fish:                        labkit completion fish > ~/.config/fish/completions/labkit.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    maker = found(context.find_root().command, {}, "labkit", "_LABKIT_COMPLETE")
    click.echo(maker.source_template % maker.source_vars())
