"""The people of `bench_match --export`, judged by Splink: `python splink_match.py people.parquet`.

Runs in an environment of its own that has Splink (it needs another DuckDB), and imports nothing of
the project. Its m are estimated by expectation maximisation, its comparisons are its library's.
"""

from __future__ import annotations

import sys
import time

CUTS = (0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)


def main() -> None:
    """Print precision and recall of pairs by cut-off."""
    # Here, so that the module can be read where there is no Splink.
    import duckdb
    import splink.comparison_library as cl  # type: ignore[import-not-found]
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    connection = duckdb.connect()
    connection.execute(f"CREATE TABLE people AS FROM '{sys.argv[1]}'")
    api = DuckDBAPI(connection)
    settings = SettingsCreator(
        link_type="dedupe_only",
        comparisons=[
            cl.DamerauLevenshteinAtThresholds("number", [1]),
            cl.JaroWinklerAtThresholds("letters", [0.92, 0.8]),
            cl.ExactMatch("characters"),
            cl.DamerauLevenshteinAtThresholds("birth_date", [1, 2]),
            cl.ExactMatch("gender"),
            cl.ExactMatch("telephone"),
        ],
        blocking_rules_to_generate_predictions=[
            block_on("number"),
            block_on("telephone"),
            block_on("birth_date"),
            block_on("letters", "substr(birth_date, 1, 4)"),
            block_on("characters", "substr(birth_date, 1, 4)"),
        ],
        additional_columns_to_retain=["person"],
    )
    started = time.process_time()
    linker = Linker(api.register("people"), settings)
    linker.training.estimate_probability_two_random_records_match(
        [block_on("number"), block_on("letters", "birth_date")], recall=0.8
    )
    linker.training.estimate_u_using_random_sampling(max_pairs=5e6)
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("birth_date"))
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("number"))
    pairs = linker.inference.predict(threshold_match_probability=0.001).as_record_list()
    rows = connection.execute(
        "SELECT count(*) FROM people a JOIN people b USING (person) WHERE a.unique_id < b.unique_id"
    )
    true = rows.fetchall()[0][0]
    print(  # noqa: T201
        f"{len(pairs)} pairs, {true} of one person, {time.process_time() - started:.0f} s processor"
    )
    for cut in CUTS:
        taken = [pair for pair in pairs if pair["match_probability"] >= cut]
        right = sum(pair["person_l"] == pair["person_r"] for pair in taken)
        print(f"{cut:>8} {len(taken):>7} {right / max(len(taken), 1):>10.4f} {right / true:>8.4f}")  # noqa: T201


if __name__ == "__main__":
    main()
