package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/rescind/rescind/internal/natsd"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// natsPart is an embedded NATS server on a directory that is its own.
type natsPart struct {
	*natsd.Server
	lock *bbolt.DB
}

// startNATS starts the server on DIR/nats. A nats-server does not lock its
// store: a second one would write over the streams of the first.
func (g *globals) startNATS(ctx context.Context, cfg natsd.Config) (*natsPart, error) {
	cfg.Dir = g.path("nats")
	if err := os.MkdirAll(g.Dir, 0o700); err != nil {
		return nil, err
	}
	// An empty bbolt file is a lock that works on every system and that the
	// death of the process opens.
	lock, err := bbolt.Open(g.path("nats.lock"), 0o600, &bbolt.Options{Timeout: 100 * time.Millisecond})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s is in use by another process", cfg.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", cfg.Dir, err)
	}
	srv, err := natsd.Start(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &natsPart{srv, lock}, nil
}

// Close stops the server, and then lets another one at the directory.
func (n *natsPart) Close() error {
	n.Server.Close()
	return n.lock.Close()
}
