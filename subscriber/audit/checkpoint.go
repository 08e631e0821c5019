package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// checkpointSuffix follows the audit file's name.
const checkpointSuffix = ".checkpoint"

// Checkpoint says how far an audit file reached at some time: lines that are
// missing from its end are found by it. A copy kept elsewhere also finds a file
// that was written anew as a whole.
type Checkpoint struct {
	// Lines is how many lines there were, Seq the last one's sequence in the audit
	// stream, Hash its hash; all are zero for an empty file.
	Lines int64  `json:"lines"`
	Seq   uint64 `json:"seq"`
	Hash  Hash   `json:"hash"`
}

// ReadCheckpoint reads a checkpoint's file. A missing one is fs.ErrNotExist.
func ReadCheckpoint(path string) (*Checkpoint, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading checkpoint: %w", err)
	}
	c := new(Checkpoint)
	if err := json.Unmarshal(b, c); err != nil || c.Lines < 0 || string(c.encode()) != string(b) {
		return nil, fmt.Errorf("checkpoint %s is not one: %w", path, ErrDamaged)
	}
	return c, nil
}

func (c *Checkpoint) encode() []byte {
	return fmt.Appendf(nil, "{\"lines\":%d,\"seq\":%d,\"hash\":\"%s\"}\n", c.Lines, c.Seq, c.Hash)
}

// write replaces the checkpoint's file. A crash leaves the old one or the new
// one: the old one is merely behind.
func (c *Checkpoint) write(path string) error {
	next := path + ".new"
	f, err := os.OpenFile(next, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing checkpoint: %w", err)
	}
	_, err = f.Write(c.encode())
	// Renamed before it is on disk, a power cut could leave an empty one.
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return fmt.Errorf("writing checkpoint: %w", err)
	}
	return nil
}
