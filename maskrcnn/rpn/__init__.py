"""The Region Proposal Network (Ren et al. 2015): where objects may be (He et al. 2017, sec. 3, the first stage)."""

from maskrcnn.rpn.anchors import AnchorGenerator, Anchors
from maskrcnn.rpn.head import RPNHead, RPNPrediction
from maskrcnn.rpn.loss import RPNLosses, RPNTargetAssigner, RPNTargets, rpn_loss
from maskrcnn.rpn.nms import batched_nms, nms
from maskrcnn.rpn.proposals import Proposals, ProposalSelector

__all__ = [
    "AnchorGenerator",
    "Anchors",
    "ProposalSelector",
    "Proposals",
    "RPNHead",
    "RPNLosses",
    "RPNPrediction",
    "RPNTargetAssigner",
    "RPNTargets",
    "batched_nms",
    "nms",
    "rpn_loss",
]
