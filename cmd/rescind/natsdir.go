package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/rescind/rescind/internal/natsd"
)

// natsPart is an embedded NATS server on a directory that is its own.
type natsPart struct {
	*natsd.Server
	lock *os.File
}

// startNATS starts the server on DIR/nats. A nats-server does not lock its
// store: a second one would write over the streams of the first.
func (g *globals) startNATS(ctx context.Context, cfg natsd.Config) (*natsPart, error) {
	cfg.Dir = g.path("nats")
	if err := os.MkdirAll(g.Dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(g.path("nats.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", cfg.Dir, err)
	}
	taken, err := lockFile(lock)
	if taken {
		err = fmt.Errorf("%s is in use by another process", cfg.Dir)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
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
