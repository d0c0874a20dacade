"""The limit on BLAS's threads.  Oracle: what threadpoolctl reads before and after."""

import threading

from threadpoolctl import threadpool_info

from nplm.threads import one_blas_thread, workers


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_the_limit_of_overlapping_threads_is_put_back():
    """Issue 15, fault 9: the second thread found the limit of the first, and put that back for ever."""
    before, entered, leave = blas_threads(), threading.Event(), threading.Event()

    def other():
        with one_blas_thread():
            entered.set()
            assert leave.wait(10)

    thread = threading.Thread(target=other)
    with one_blas_thread():
        thread.start()
        assert entered.wait(10) and set(blas_threads()) <= {1}
    assert set(blas_threads()) <= {1}, "the other still needs it"
    leave.set()
    thread.join()
    assert blas_threads() == before


def test_the_limit_is_put_back_after_an_error_and_nests():
    """Workers within a limit, and an exception."""
    before = blas_threads()
    try:
        with one_blas_thread(), workers(2, 2) as run:
            assert run([lambda: 1, lambda: 2, lambda: 3]) == [1, 2, 3]
            raise KeyError
    except KeyError:
        pass
    assert blas_threads() == before
