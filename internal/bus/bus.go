package bus

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescind/rescind/events"
)

// Bus is one fleet's streams as seen through one connection.
type Bus struct {
	nc    *nats.Conn
	js    jetstream.JetStream
	fleet events.Fleet
}

// New builds a bus on nc, which stays the caller's to close. It does not use the
// connection. It refuses a nil connection and an invalid fleet.
func New(nc *nats.Conn, fleet events.Fleet) (*Bus, error) {
	if nc == nil {
		return nil, errors.New("bus: no connection")
	}
	if err := fleet.Validate(); err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	return &Bus{nc, js, fleet}, nil
}

// Fleet is the fleet that the bus was built for.
func (b *Bus) Fleet() events.Fleet { return b.fleet }

// Conn is the connection that the bus was built on, for what travels on core
// NATS.
func (b *Bus) Conn() *nats.Conn { return b.nc }
