"""Head detectors: one number a head from a corpus, and how alike two lists of heads are."""

from retrieval_lens.detectors.base import Contribution, HeadDetector, TraceDetector
from retrieval_lens.detectors.comparison import compare_heads
from retrieval_lens.detectors.detecting import detect, detect_heads
from retrieval_lens.detectors.detection import Detection
from retrieval_lens.detectors.headkv import HeadKV
from retrieval_lens.detectors.qrhead import QRHead
from retrieval_lens.detectors.ranking import as_head_set
from retrieval_lens.detectors.score_mean import ScoreMean
from retrieval_lens.detectors.split_half import split_half
from retrieval_lens.detectors.wu import Wu

__all__ = [
    "Contribution",
    "Detection",
    "HeadDetector",
    "HeadKV",
    "QRHead",
    "ScoreMean",
    "TraceDetector",
    "Wu",
    "as_head_set",
    "compare_heads",
    "detect",
    "detect_heads",
    "split_half",
]
