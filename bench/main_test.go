package main

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// TestMain lets the test binary be the bench's children too.
func TestMain(m *testing.M) {
	ran, err := runChild(context.Background(), os.Args[1:])
	if !ran {
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
