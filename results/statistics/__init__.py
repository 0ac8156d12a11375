"""Statistics of one run: what it can claim at a stated confidence, and what it cannot.

    shares       binomial bounds with an effective number of requests; percentile intervals
    correlated   effective sample size, batch-means and block-bootstrap intervals
    steady       truncation of a transient (MSER-5) and a test for a trend (Mann-Kendall)
    correction   several decisions at once (Holm)

Latencies of a queue are not independent: a request behind a slow one is slow too. Everything here
takes its values in the order of time and says what it assumes about their dependence.
"""
