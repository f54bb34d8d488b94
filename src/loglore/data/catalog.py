"""Public data that LogLore's workflow uses: where it is, under which terms, and the hashes that could be verified.

Hashes of files in Git LFS are those of their pointers in the repositories (read there 2026-11-22); Zenodo states an MD5
for each file of a record in its API, which is asked at download time. Files without either are recorded on the first
download and compared after that, and the user is told so.
"""

from dataclasses import dataclass

GITHUB = "https://raw.githubusercontent.com"
GITHUB_LFS = "https://media.githubusercontent.com/media"
ZENODO_API = "https://zenodo.org/api/records"


@dataclass(frozen=True)
class Remote:
    """One file: `name` here, `url`, `size` in bytes and `hash` (`sha256:…`) where known, else 0 and empty."""

    name: str
    url: str
    size: int = 0
    hash: str = ""


@dataclass(frozen=True)
class Source:
    """One data set: what it is, its page, terms and citation; its files, or the Zenodo record that lists them."""

    name: str
    what: str
    page: str
    terms: str
    cite: str
    files: tuple[Remote, ...] = ()
    zenodo: str = ""

    def notice(self) -> str:
        """What to know before using it."""
        return f"{self.name}: {self.what}\n  page: {self.page}\n  terms: {self.terms}\n  cite: {self.cite}"


_LOGHUB = (
    "Zhu et al., Loghub: A Large Collection of System Log Datasets for AI-driven Log Analytics, ISSRE 2023 "
    "(arXiv:2008.06448)"
)
_TUTORIAL = "fpt-corp/ai-studio"
_TUTORIAL_COMMIT = "2e7bcbe4e619fcec7d26ac68af540301a7c5bfff"
_TUTORIAL_FOLDER = "tutorials/log-analyzer-chatbot/data/final_data/chat"
_SUPERLOG = "J-York/SuperLog"
_SUPERLOG_COMMIT = "e6436145fcac9b555a5845e4ad5d604deb54186e"


def _tutorial(name: str, size: int = 0, digest: str = "") -> Remote:
    return Remote(name, f"{GITHUB}/{_TUTORIAL}/{_TUTORIAL_COMMIT}/{_TUTORIAL_FOLDER}/{name}", size, digest)


SOURCES = {
    source.name: source
    for source in (
        Source(
            "nlplog",
            "over 250,000 questions and answers on LogHub events (SuperLog's data set), nlplog rows, 599 MB",
            f"https://github.com/{_SUPERLOG}",
            "the repository names no licence: ask its authors before you publish what you train on it",
            "Ji et al., Adapting Large Language Models to Log Analysis with Interpretable Domain Knowledge, CIKM 2025 "
            "(arXiv:2412.01377)",
            (
                Remote(
                    "NLPLog.json",
                    f"{GITHUB_LFS}/{_SUPERLOG}/{_SUPERLOG_COMMIT}/data/NLPLog.json",
                    599_163_024,
                    "sha256:8a98036ed2ef79fe6426c0e22513944f45d8e7ec9ac4a5ae13783f53d244bb18",
                ),
            ),
        ),
        Source(
            "loghub",
            "raw logs of 16 systems; the whole record is above 7 GB, name the files you want",
            "https://zenodo.org/records/8196385",
            "free for research and academic work; refer to https://github.com/logpai/loghub and cite the paper",
            _LOGHUB,
            zenodo="8196385",
        ),
        Source(
            "loghub-2.0",
            "annotated logs of 14 systems, 50 million lines; name the files you want",
            "https://zenodo.org/records/8275861",
            "free for research and academic work; refer to https://github.com/logpai/loghub-2.0 and cite the papers",
            f"{_LOGHUB}; Jiang et al., A Large-scale Evaluation for Log Parsing Techniques: How Far are We?, "
            "ISSTA 2024 (arXiv:2308.10828)",
            zenodo="8275861",
        ),
        Source(
            "tutorial-chat",
            "9,971 log conversations of the tutorial, sharegpt rows: 8,971 train, 500 validation, 500 test",
            f"https://github.com/{_TUTORIAL}/tree/main/tutorials/log-analyzer-chatbot",
            "the repository names no licence: ask its authors before you publish what you train on it",
            "the tutorial's page; its logs are LogHub's: " + _LOGHUB,
            (
                _tutorial(
                    "train_no_json.json",
                    159_648_612,
                    "sha256:d52dbf8f0387630b12d314cebed87361946c7a74b14f6bb72ad74b03bc8cb9d6",
                ),
                _tutorial("val_no_json.json"),
                _tutorial("test_no_json.json"),
                _tutorial("train_no_json_mini.json"),
            ),
        ),
    )
}
