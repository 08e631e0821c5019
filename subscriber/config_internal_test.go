package subscriber

import (
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
)

func TestConfigIsRefusedByTheNameOfItsField(t *testing.T) {
	valid := func() Config { return Config{Service: "pay", Keys: events.NewKeySet()} }
	for _, tc := range []struct {
		name   string
		change func(c *Config)
		want   string // "" for accepted
	}{
		{"least", func(*Config) {}, ""},
		{"all", func(c *Config) {
			*c = Config{Fleet: "f", Service: "pay", Instance: "web-1", Dir: "d", Keys: c.Keys, Bound: 1, MaxStaleness: 1,
				AllowUnsynced: true, MaxSeen: 1, StatusEvery: 1, KeysEvery: 1, Version: "1"}
		}, ""},
		{"no service", func(c *Config) { c.Service = "" }, "Service"},
		{"no keys", func(c *Config) { c.Keys = nil }, "Keys"},
		{"fleet", func(c *Config) { c.Fleet = "a.b" }, "Fleet"},
		{"service", func(c *Config) { c.Service = "pay ment" }, "service"},
		{"instance", func(c *Config) { c.Instance = "a/b" }, "instance"},
		{"version", func(c *Config) { c.Version = strings.Repeat("1", 65) }, "version"},
		{"bound", func(c *Config) { c.Bound = -1 }, "Bound"},
		{"staleness", func(c *Config) { c.MaxStaleness = -1 }, "MaxStaleness"},
		{"status", func(c *Config) { c.StatusEvery = -1 }, "StatusEvery"},
		{"keys", func(c *Config) { c.KeysEvery = -1 }, "KeysEvery"},
		{"seen", func(c *Config) { c.MaxSeen = -1 }, "MaxSeen"},
	} {
		c := valid()
		tc.change(&c)
		err := c.validate()
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want an error with %q", tc.name, err, tc.want)
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	var c Config
	if c.fleet() != events.DefaultFleet || c.bound() != 5*time.Second || c.statusEvery() != 5*time.Second ||
		c.keysEvery() != time.Minute || c.maxSeen() != 100_000 || c.instance() == "" || c.logger() == nil || c.clock() == nil {
		t.Errorf("defaults: %v %v %v %v %v %q", c.fleet(), c.bound(), c.statusEvery(), c.keysEvery(), c.maxSeen(), c.instance())
	}
}
