"""The end of a run: writing the report, and tracking it with the comparison's metrics."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from raysample import report
from raysample.core.extras import is_installed
from raysample.data.corpus import Corpus
from raysample.data.score_table_layout import part_name
from raysample.evaluation import FULL
from raysample.evaluation.comparison import Comparison
from raysample.workflow.run import Pipeline


def run_whole(pipeline: Pipeline) -> Comparison:
    """Fine-tune, score, sample, compare and report inside one tracked run."""
    with pipeline.tracked("run") as inside:
        inside.checkpoints()
        inside.scores()
        return _compare_and_publish(inside)


def run_comparison(pipeline: Pipeline) -> Comparison:
    """Sample, compare and report inside one tracked run."""
    with pipeline.tracked("compare") as inside:
        return _compare_and_publish(inside)


def _compare_and_publish(pipeline: Pipeline) -> Comparison:
    """Compare, and track the report, the comparison, the configuration and the full-data metrics."""
    comparison, run_folder, tracker = pipeline.compare(), pipeline.run_folder, pipeline.context.tracker
    paths = [run_folder.comparison, run_folder.at("config.yaml")]
    if is_installed("report"):
        write_run_report(pipeline, comparison)
        paths.insert(0, run_folder.report)
    run_folder.record(pipeline.config)
    for path in paths:
        tracker.artifact(path)
    full = next(summary for summary in comparison.summaries if summary.arm == FULL)
    tracker.metrics({"test_acc": full.accuracy[0], "test_macro_f1": full.macro_f1[0]})
    if comparison.new_texts is not None:
        new = next(summary for summary in comparison.headline().summaries if summary.arm == FULL)
        tracker.metrics({"test_new_text_accuracy": new.accuracy[0], "test_new_text_macro_f1": new.macro_f1[0]})
    return comparison


def write_run_report(pipeline: Pipeline, comparison: Comparison) -> None:
    """Write the HTML report of a finished comparison into the run folder."""
    config, table = pipeline.config, pipeline.table()
    sample = report.collect_table_sample(table, config.report.examples, pipeline.context.executor.map)
    texts = None
    if config.report.show_text and sample is not None:
        texts = _texts(Corpus.load(pipeline.run_folder.train), sample)
    report.write_report(
        pipeline.run_folder.report,
        title=config.name,
        comparison=comparison,
        table=table,
        texts=texts,
        provenance=pipeline.provenance(),
        examples=config.report.examples,
        looked=sample,
    )


def _texts(corpus: Corpus, sample: report.TableSample) -> dict[str, str]:
    """Return the texts of the example rows by row id; only the shards of these rows are read."""
    shards = {part_name(shard): shard.index for shard in corpus.shards}
    result: dict[str, str] = {}
    for part, wanted in sample.places().items():
        rows = corpus.read(shards[part.rpartition("/")[2]])
        rows = rows.filter(pc.is_in(rows["row_id"], value_set=pa.array(wanted, pa.string())))
        for row in rows.to_pylist():
            result[row["row_id"]] = " || ".join(text for text in (row["text"], row["text_pair"]) if text)
    return result
