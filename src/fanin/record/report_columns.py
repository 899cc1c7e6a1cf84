"""The contract of a report's files: every column of the tables beside its page, each said once."""

from __future__ import annotations

from fanin.record.columns import Column, ends

JUDGED = (
    Column("subject", "of which experiment and data set, where there are several"),
    Column("metric", "the number of result.json by which configurations are judged"),
)

MEAN = (
    Column("mean", "the mean of the metric over its runs that have a finite value"),
    *ends("", "the mean's 95 % t-interval"),
    Column("n", "how many runs the mean is over"),
)

DIFFERENCE = (
    Column("difference", "the mean difference to the best of all; empty for that itself"),
    *ends("difference_", "its 95 % interval"),
)

BEST = (
    *JUDGED,
    Column("place", "1 for the best; configurations with a diverged run are behind all others"),
    Column("configuration", "its values of what varies"),
    *MEAN,
    Column("runs", "how many runs it has, ended or not"),
    Column("diverged", "how many of them diverged"),
    *DIFFERENCE,
    Column("pairs", "over how many runs that both have the difference is; empty where they share none"),
    Column("test", "of the difference: paired t, or Welch t where they share no run"),
    Column("p", "of that test, two-sided"),
    Column("p_holm", "the same by Holm's correction for all tests against the best"),
    Column("mean_rank", "the mean rank over the runs that the best has, 1 the best; empty for what lacks one of them"),
    *ends("mean_rank_", "its 95 % bootstrap interval"),
    Column("first_place", "how likely it has the best mean, by the t distribution of the means over these runs"),
    Column("held_out", "the mean on one half of the runs of what is best on the other half; of the best only"),
)
"""report/best.csv, a row for each configuration that has a number, the best first."""

BEST_BY_AXIS = (
    *JUDGED,
    Column("axis", "the key that varies"),
    Column("value", "one of its values"),
    Column("configuration", "the best configuration that has it"),
    *MEAN,
    Column(
        "first_place",
        "how likely that one has the best mean among those of the value, by the t distribution of the means",
    ),
    Column("not_distinguished", "what a test at 5 % does not tell from it, among those of the value"),
    Column("tests", "how many tests that is of"),
    *DIFFERENCE,
    Column("p", "of the difference's t-test, two-sided"),
    Column("p_holm", "the same by Holm's correction for the values of the axis"),
    Column("runs", "how many runs of all configurations with the value came to an end"),
    Column("diverged", "how many of them diverged"),
)
"""report/best_by_axis.csv, a row for each value of each axis."""

SEARCHED = (
    Column("trial", "the number of the configuration"),
    Column("steps", "updates at which the configurations are compared; a column for each metric and axis follows"),
    Column("front", "whether no other configuration is as good in all metrics and better in one; the last column"),
)
"""report/search.csv, a row for each configuration of a search."""

IMPORTANCE = (
    Column("method", "fANOVA, or PED-ANOVA of the best fifth"),
    Column("axis", "the axis"),
    Column("share", "the share of the variance that it explains alone; or of the divergences of the best from all"),
    *ends("", "its 95 % interval over resamples"),
)
"""report/importance.csv, of a search and of a grid over several keys."""

TABLE_FIRST = (
    Column("configuration", "its values of what varies; a column for every key that varies follows"),
    Column("runs", "how many runs it has"),
    Column("seeds", "at how many different seeds; a column for every state follows, how many runs are in it"),
    Column("outcome", "the outcome of the training, in words"),
    Column("verdict", "what the profiles at init say of the initialization"),
    Column("z_min", "the smallest deviation z of a run"),
    Column("z_max", "the largest"),
    Column("source", "where z comes from, as in profiles.csv"),
)
"""report/table.csv begins with these, a row for each configuration."""

TABLE_NUMBER = (
    Column("NAME_mean", "the mean of a number of result.json; NAME_gmean of the geometric mean"),
    *ends("NAME_", "its 95 % t-interval over seeds, or folds"),
    Column("NAME_n", "how many runs have a finite value"),
)
"""It goes on with these of each number; of a cross-validation `folds`, their number, is the last column."""

CLAIMS = (
    Column("experiment", "the study"),
    Column("verdict", "holds, does not hold, or cannot be judged by these runs"),
    Column("claim", "the claim"),
    Column("evidence", "the numbers that it was judged by"),
)
"""report/claims.csv, of studies."""

COMPARE = (
    Column("first", "the reference"),
    Column("side", "what is held against it"),
    Column("metric", "the number of result.json that is compared"),
    Column("pairs", "how many pairs of runs have a finite value on both sides"),
    Column("mean_difference", "the mean of side - first over these pairs"),
    *ends("", "its 95 % t-interval"),
    Column("sd_difference", "the standard deviation of the differences"),
    Column("median_difference", "their median"),
    Column("t_p", "of the paired t-test, two-sided"),
    Column("wilcoxon_p", "of Wilcoxon's signed rank test, two-sided"),
    Column("below", "how many differences are below 0"),
    Column("above", "how many are above"),
    Column("effect", "with three sides or more: Cohen's d of pairs, mean over sd"),
    Column("rank_biserial", "with three or more: (W+ - W-) / (W+ + W-) of Wilcoxon's sums of ranks"),
    Column("t_p_holm", "with three or more: the t-test's p by Holm's correction for all comparisons"),
    Column("wilcoxon_p_holm", "with three or more: the same of Wilcoxon's"),
    *(
        Column(f"{side}_{name}", f"{words} of {of} over these pairs")
        for side, of in (("first", "the reference"), ("side", "the side"))
        for name, words in (("mean", "the mean"), ("sd", "the standard deviation"), ("median", "the median"))
    ),
    Column("folds", "k where pairs are folds of a cross-validation"),
    *(
        Column(f"{side}_{name}", f"{words} of {of}")
        for side, of in (("first", "the reference"), ("side", "the side"))
        for name, words in (
            ("runs", "how many runs"),
            ("unpaired", "how many of them without a partner"),
            ("diverged", "how many paired runs that diverged"),
            ("unfinished", "how many paired runs that have not ended, or failed"),
            ("without_value", "how many paired runs without a finite value"),
        )
    ),
)
"""report/compare.csv, of fanin-report --compare: a row for each side but the first."""

COMPARE_RANKS = (
    Column("side", "the side"),
    Column("runs", "how many matched runs each side has"),
    Column("blocks", "over how many blocks sides are ranked"),
    Column("block", "what a block is: a run or, of several data sets, a data set by its median"),
    Column("mean_rank", "the mean rank over blocks, 1 the best, ties shared"),
    *ends("mean_rank_", "its 95 % bootstrap interval"),
    Column("p_better", "the probability that a run of it is better than one of the reference"),
    *ends("p_better_", "its 95 % bootstrap interval"),
    Column("critical_difference", "how far mean ranks must lie apart at 5 % (Nemenyi)"),
    Column("friedman_p", "of Friedman's test that all rank alike"),
    Column("followed", "the column of metrics.csv that goes to the target"),
    Column("target", "the median of what the reference's runs end at; empty of several data sets"),
    Column("reached", "the share of its runs that come to the target"),
    Column("steps_to_target", "the median of their updates until then, inf where most never do"),
    Column("profile_score", "the area under its performance profile from 1 to 4, over 3"),
)
"""report/compare_ranks.csv, of three sides or more, the best first."""
