package main

import (
	"context"
	"fmt"
	"time"
)

// await asks ready every few milliseconds until it says yes, for at most so long.
func await(ctx context.Context, most time.Duration, what string, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if ready() {
			tick.Stop()
			return nil
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
