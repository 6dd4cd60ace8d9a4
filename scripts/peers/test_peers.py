"""The harness on fixed lines. Nothing is run, nothing is measured."""

import json
import os
import sys
import unittest
import xml.dom.minidom

sys.path.insert(0, os.path.dirname(__file__))

import chart  # noqa: E402
import compare  # noqa: E402
import rows  # noqa: E402
from rows import Line, Row  # noqa: E402


def line(bench, params, samples):
    return json.dumps({"bench": bench, "params": params, "ns_per_op": 99.0, "samples": samples})


class Comparing(unittest.TestCase):
    def test_quartiles_lie_between_values_in_proportion(self):
        figure = compare.figure([4.0, 1.0, 3.0, 2.0])
        self.assertEqual(figure, compare.Figure(2.5, 1.75, 3.25, 4))
        self.assertEqual(compare.figure([7.0]), compare.Figure(7.0, 7.0, 7.0, 1))
        self.assertEqual(compare.figure([5, 1, 2, 3, 4]), compare.Figure(3, 2, 4, 5))

    def test_the_repetitions_of_all_turns_count_as_one_figure(self):
        turns = [line("b", "p", [1.0, 2.0]), line("b", "p", [9.0]), line("b", "q", [5.0])]
        pooled = compare.pool(compare.parse("\n".join(turns)))
        self.assertEqual(pooled, {("b", "p"): [1.0, 2.0, 9.0], ("b", "q"): [5.0]})

    def test_a_line_without_samples_counts_by_its_median_or_value(self):
        text = 'noise\n{"bench":"a","params":"p","ns_per_op":3.5}\n{"bench":"m","params":"p","unit":"MiB","value":7}\n{broken'
        self.assertEqual(compare.parse(text), [("a", "p", [3.5]), ("m", "p", [7])])

    def test_what_the_forward_example_prints_is_read_with_the_machinery(self):
        text = "port  with, ns/pkt without ratio\nnet_null          30.25        29.99     1.0087\n"
        self.assertEqual(compare.parse(text), [("fwd.null", "gateway", [30.25])])

    def test_digits_and_anything_have_signs_and_the_rest_is_literal(self):
        wanted = compare.pattern("used=# bulk 32, hit zipf(1) *")
        self.assertTrue(wanted.fullmatch("used=817889 bulk 32, hit zipf(1) x"))
        self.assertFalse(wanted.fullmatch("used=817889 rw_lf bulk 32, hit zipf(1) x"))
        self.assertFalse(wanted.fullmatch("used=8 bulk 32, hit zipf1 x"))

    def test_the_best_line_of_a_side_counts_and_of_a_worst_row_the_slowest_of_ours(self):
        ours = {("f", "scalar 9"): [8.0], ("f", "avx512 9"): [3.0], ("g", "x"): [40.0]}
        theirs = {("f", "avx512 9"): [5.0], ("l", "9"): [4.0]}
        row = Row("g", "n", 0.8, [Line("f", "* #")], [Line("f", "* #"), Line("l", "#")])
        (result,) = compare.join([row], ours, theirs)
        self.assertEqual((result.ours.median, result.theirs.median, result.ratio), (3.0, 4.0, 0.75))
        self.assertTrue(result.reached)
        (result,) = compare.join([row._replace(worst=True)], ours, theirs)
        self.assertEqual((result.ratio, result.reached), (2.0, False))

    def test_a_ratio_equal_to_the_goal_reaches_it_and_a_side_without_lines_measures_nothing(self):
        row = rows.same("g", "n", 0.5, "b", "p")
        (result,) = compare.join([row], {("b", "p"): [1.0]}, {("b", "p"): [2.0]})
        self.assertTrue(result.reached)
        (result,) = compare.join([row], {}, {("b", "p"): [2.0]})
        self.assertEqual((result.ours, result.ratio, result.reached), (None, None, None))
        self.assertIn("not measured", compare.table([result]))
        self.assertEqual(compare.summary([result]), "0 of 0 measured rows reach their ratio; 1 not measured")

    def test_table_json_and_chart_say_the_same(self):
        row = rows.same("g", "a <row>", 0.7, "b", "p")
        results = compare.join([row], {("b", "p"): [1.0, 2.0, 3.0]}, {("b", "p"): [4.0]})
        head, body = compare.table(results).splitlines()
        self.assertEqual(body.split(), "a <row> 2 1.5..2.5 4 4..4 0.5 0.7 yes".split())
        self.assertEqual(head.index("reached") + len("reached"), len(body))
        (read,) = json.loads(compare.as_json(results, {"cpus": 2}))["rows"]
        self.assertEqual((read["ratio"], read["ours"]["q3"], read["dpdk"]["samples"]), (0.5, 2.5, 1))
        drawn = xml.dom.minidom.parseString(chart.svg(results, "a & b"))
        self.assertIn("a <row>", [t.firstChild.data for t in drawn.getElementsByTagName("text")])


class Rows(unittest.TestCase):
    def test_every_row_belongs_to_a_group_has_a_name_of_its_own_and_a_goal(self):
        names = [row.name for row in rows.ROWS]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual({row.group for row in rows.ROWS}, set(rows.GROUPS))
        self.assertTrue(all(0 < row.goal <= 1.3 and row.ours and row.theirs for row in rows.ROWS))

    def test_each_pattern_of_the_hash_rows_finds_its_line_and_not_the_lock_free_one(self):
        tag = "rte_hash key=16B slots=1048576 used=817889"
        theirs = {
            ("hash.lookup", f"{tag} bulk 32, hit uniform"): [25.0],
            ("hash.lookup", f"{tag} rw_lf bulk 32, hit uniform"): [1.0],
            ("hash.insert", f"{tag} at load, random key"): [138.0],
            ("hash.insert", f"{tag} from empty to full, failed=0"): [1.0],
        }
        found = {r.row.name: r.theirs.median for r in compare.join(rows.ROWS, {}, theirs) if r.theirs}
        name = "hash 1M slots, 16 B key"
        self.assertEqual(found, {f"{name}, bulk 32, hit uniform": 25.0, f"{name}, insert at load": 138.0})


if __name__ == "__main__":
    unittest.main()
