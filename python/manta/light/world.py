"""What a task shares with its swarm."""

from typing import Optional, Sequence, Union

from . import _attempt
from ._async import twin
from ._names import check_name
from .errors import InvalidArgument
from .globals import Globals
from .results import Results

__all__ = ["World"]


class World:
    """The swarm as a task sees it.

    Attributes
    ----------
    globals : Globals
        Values of the whole swarm.
    results : Results
        What tasks publish for each other.

    Examples
    --------
    >>> class Decide(Task):
    ...     def run(self):
    ...         if self.world.globals["loss"] < 0.1:
    ...             self.world.stop_swarm()
    >>> run_task(Decide, globals={"loss": 0.05}).stopped
    True
    """

    def __init__(self) -> None:
        self.globals = Globals()
        self.results = Results()

    def schedule_next_iter(
        self,
        node_ids: Union[Sequence[str], str, None] = None,
        task_to_schedule_alias: Optional[str] = None,
    ) -> None:
        """Ask for one more iteration of the whole graph.

        It takes effect with this attempt's commit. Several calls unite.

        Parameters
        ----------
        node_ids : sequence of str, optional
            Names of the nodes that run the task ``task_to_schedule_alias`` in that iteration, in
            place of its method and maximum.
        task_to_schedule_alias : str, optional
            The alias of that task.

        Raises
        ------
        UnknownTarget
            If the swarm knows no such task or node.
        """
        nodes = [node_ids] if isinstance(node_ids, str) else node_ids
        if nodes is not None:
            nodes = [check_name("node", node) for node in nodes]
            if not nodes:
                raise InvalidArgument("node_ids is empty; leave it out to keep the task's own choice")
        if task_to_schedule_alias is not None:
            check_name("task", task_to_schedule_alias)
        _attempt.current("world").request("schedule_next_iter", node_ids=nodes, task=task_to_schedule_alias)

    def stop_swarm(self) -> None:
        """End the swarm, succeeded, after this iteration. It beats any request for another one."""
        _attempt.current("world").request("stop_swarm")

    async_schedule_next_iter = twin(schedule_next_iter)
    async_stop_swarm = twin(stop_swarm)
