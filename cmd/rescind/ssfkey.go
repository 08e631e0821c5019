package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/rescind/rescind/publisher/transmit"
)

const ssfKeyFile = "ssf.key"

type keysSSFCmd struct{}

func (c *keysSSFCmd) Help() string {
	return `With this key publishers sign, by RS256, the security events that they send to receivers outside of
the fleet. Copy it to every publisher of the fleet: a stream is served by each of them.`
}

func (c *keysSSFCmd) Run(g *globals) error {
	path := g.path(ssfKeyFile)
	err := newSSFKey(path)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already", path)
	}
	if err != nil {
		return err
	}
	if g.JSON {
		return printJSON(g.std.out, map[string]string{"key": path})
	}
	_, err = fmt.Fprintf(g.std.out, "key of the transmitter  %s  (copy it to every publisher)\n", path)
	return err
}

func newSSFKey(path string) error {
	k, err := transmit.NewKey()
	if err != nil {
		return err
	}
	text, err := k.PEM()
	if err != nil {
		return err
	}
	return writeNew(path, text, 0o600)
}

// readSSFKey reads the transmitter's key. Without one that was named there is none,
// and receivers find no transmitter.
func (g *globals) readSSFKey(named string, log *slog.Logger) (*transmit.Key, error) {
	path := orPath(named, g.path(ssfKeyFile))
	text, err := os.ReadFile(path)
	if named == "" && errors.Is(err, fs.ErrNotExist) {
		log.Info("events are not sent to receivers outside of the fleet: there is no key for it", "make", "rescind keys ssf")
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the transmitter's key: %w", err)
	}
	k, err := transmit.ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}
