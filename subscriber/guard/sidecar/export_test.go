package sidecar

import "time"

// WithHeartbeat sets the time between comments of a watch.
func (c Config) WithHeartbeat(d time.Duration) Config {
	c.heartbeat = d
	return c
}
