package main

import (
	"testing"
	"time"
)

func TestAcceptAnswersEveryCaller(t *testing.T) {
	rows, err := acceptBy(t.Context(), smokeConfig(t), []int{1, 3}, 1, 20*time.Millisecond)
	wantRows(t, rows, err, 5)
}
