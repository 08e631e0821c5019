module github.com/rescind/rescind/bench

go 1.26.0

replace github.com/rescind/rescind => ../
