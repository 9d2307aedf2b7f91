"""Reading a judge's reply. What is not clearly a verdict is none: there is no guessing and no clamping. See docs/judging.md."""

from common.graders.reply.errors import ReplyError
from common.graders.reply.reading import finished, read_choice, read_label, read_object, read_score, read_scores

__all__ = ["ReplyError", "finished", "read_choice", "read_label", "read_object", "read_score", "read_scores"]
