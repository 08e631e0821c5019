package main

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/subscriber"
)

// loneAgent is an agent on the denylist in dir that never reaches NATS: it
// decides from what it holds, and nothing else happens in it.
type loneAgent struct {
	*subscriber.Agent
	nc *nats.Conn
}

func openAgent(ctx context.Context, dir string) (*loneAgent, error) {
	// Port 9 is discard's: nobody listens there.
	nc, err := nats.Connect("nats://127.0.0.1:9", nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.ReconnectWait(time.Hour))
	if err != nil {
		return nil, err
	}
	signer, err := events.NewSigner("bench")
	if err != nil {
		return nil, err
	}
	a, err := subscriber.Open(ctx, nc, subscriber.Config{Service: "bench", Instance: "lone", Dir: dir,
		Keys: events.NewKeySet(signer.Public())})
	if err != nil {
		nc.Close()
		return nil, err
	}
	if a.Recovered() != "" {
		return nil, errors.Join(errors.New("the denylist was not used: "+a.Recovered()), a.Close())
	}
	return &loneAgent{a, nc}, nil
}

func (a *loneAgent) Close() error {
	err := a.Agent.Close()
	a.nc.Close()
	return err
}

func (a *loneAgent) contestant() contestant {
	c := judge("rescind", func(q *query) bool { return a.Check(q.tok) != nil })
	c.close = a.Close
	return c
}
