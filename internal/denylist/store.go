package denylist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/rescind/rescind/events"
)

// The buckets and the key of the state.
var (
	bucketMeta     = []byte("meta")
	bucketEvents   = []byte("events")
	bucketParked   = []byte("parked")
	bucketObserved = []byte("observed")
	keyState       = []byte("state")
)

// lockTimeout is how long Open waits for another process to let go of the file.
const lockTimeout = time.Second

// damage says what is wrong with a file.
type damage struct{ reason string }

func (d *damage) Error() string { return "damaged file: " + d.reason }

func damaged(form string, args ...any) error { return &damage{fmt.Sprintf(form, args...)} }

// store is the file. bbolt panics on damage that it finds late, and a page that
// cannot be read is a fault; both come out of view and update as damage.
type store struct {
	path     string
	maxBytes int
	// created tells that the file did not exist; once there was one, it is not
	// made again in silence.
	created, existed bool

	mu   sync.RWMutex // guards the fields below
	db   *bolt.DB     // nil while the file is closed
	file *os.File     // the same file, for what bbolt does not offer
}

// guarded runs fn and turns a panic or a memory fault in it into damage.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damaged("%v", p)
		}
	}()
	return fn()
}

// openStore opens or makes the file and takes its lock. It gives ErrLocked, a
// damage, or what the system says.
func openStore(path string, maxBytes int) (*store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	s := &store{path: path, maxBytes: maxBytes}
	return s, s.open()
}

func (s *store) open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := guarded(func() (err error) {
		s.db, err = bolt.Open(s.path, 0o600, &bolt.Options{Timeout: lockTimeout, MaxSize: s.maxBytes,
			FreelistType: bolt.FreelistMapType, NoStatistics: true, OpenFile: s.openFile})
		return err
	})
	if err == nil {
		err = s.checkInPlace()
	}
	if err == nil {
		s.existed = true
		return nil
	}
	s.abandon()
	var d *damage
	var errno syscall.Errno
	var pathErr *fs.PathError
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return ErrLocked
	case errors.Is(err, errMoved):
		return fmt.Errorf("%w: %w", ErrLocked, err)
	case errors.As(err, &d):
		return err
	case errors.As(err, &errno) && errno != syscall.EIO, errors.As(err, &pathErr) && errno != syscall.EIO:
		if s.created {
			// A half-made file would be taken for a damaged one.
			_ = os.Remove(s.path)
		}
		return err
	}
	return damaged("%v", err)
}

// openFile is called by bbolt before it takes the lock.
func (s *store) openFile(path string, flags int, mode os.FileMode) (*os.File, error) {
	if s.existed {
		f, err := os.OpenFile(path, flags&^os.O_CREATE, mode)
		s.file = f
		return f, err
	}
	f, err := os.OpenFile(path, flags|os.O_CREATE|os.O_EXCL, mode)
	s.created = err == nil
	if errors.Is(err, fs.ErrExist) {
		f, err = os.OpenFile(path, flags&^os.O_CREATE, mode)
	}
	s.file = f
	return f, err
}

var errMoved = errors.New("the file was moved or removed")

// checkInPlace gives errMoved for a file that is not the one under the path any
// more: another process put it aside, or someone removed it.
func (s *store) checkInPlace() error {
	mine, err := s.file.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(mine, there) {
		return errMoved
	}
	return err
}

// inPlace tells whether what is written now would be found again.
func (s *store) inPlace() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.file == nil {
		return errClosed
	}
	return s.checkInPlace()
}

// drop gives a damaged file up.
func (s *store) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abandon()
}

// abandon lets go of the file without bbolt's help, which after a panic may
// wait for ever for its own locks. The mapping of a damaged file stays.
func (s *store) abandon() {
	if s.file != nil {
		unlock(s.file)
		_ = s.file.Close()
	}
	s.db, s.file = nil, nil
}

// roomForIdentities is how many the file can hold at the most: a state that lies
// must not make us take more memory than that needs.
func (s *store) roomForIdentities() uint64 {
	info, err := s.file.Stat()
	if err != nil {
		return 0
	}
	return uint64(info.Size()) / uint64(len(events.Identity{}))
}

// remap closes the file and opens it again. The pages that were read through
// bbolt's mapping would go on counting as the process's memory.
func (s *store) remap() error {
	if err := s.close(); err != nil {
		return err
	}
	return s.open()
}

func (s *store) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil
	}
	err := guarded(s.db.Close)
	s.db, s.file = nil, nil
	return err
}

var errClosed = errors.New("the file is closed")

func (s *store) view(fn func(*bolt.Tx) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.db == nil {
		return errClosed
	}
	return guarded(func() error { return s.db.View(fn) })
}

// update runs one transaction. When it returns nil, the transaction is on disk.
func (s *store) update(fn func(*bolt.Tx) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.db == nil {
		return errClosed
	}
	return guarded(func() error { return s.db.Update(fn) })
}

// isFull tells a disk without room, which needs nothing but room, from one that
// fails. bbolt loses the error number on one path.
func isFull(err error) bool {
	return errors.Is(err, bolterrors.ErrMaxSizeReached) || errors.Is(err, syscall.ENOSPC) ||
		errors.Is(err, syscall.EDQUOT) || strings.Contains(err.Error(), syscall.ENOSPC.Error())
}

// bucketName is the bucket of one expiry hour and stream: records of one stream
// come in order, so that each bucket is written at its end.
func (p place) bucketName() []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(p.hour)), p.stream)
}

// key holds the id too: a stream that was lost may use a sequence again.
func (p place) key(id events.EventID) []byte {
	return append(binary.BigEndian.AppendUint64(nil, p.seq), id[:]...)
}

// readRecord decodes what lies under key in the bucket called name into a new r,
// and gives its encoding.
func readRecord(name, key, sealed []byte, r *Record) (content []byte, err error) {
	if len(name) != 5 || len(key) != 8+len(r.ID) {
		return nil, damaged("a record lies under a key of the wrong length")
	}
	if content, err = unseal(key, sealed); err != nil {
		return nil, damaged("record: %v", err)
	}
	if r.Stream, err = streamOf(name[4]); err != nil {
		return nil, damaged("record: %v", err)
	}
	r.Seq = binary.BigEndian.Uint64(key)
	copy(r.ID[:], key[8:])
	if err := decodeRecord(content, r); err != nil {
		return nil, damaged("record: %v", err)
	}
	if hourOf(r.Expires) != hour(binary.BigEndian.Uint32(name)) {
		return nil, damaged("a record lies under the wrong hour")
	}
	return content, nil
}

// eachRecord calls fn with every record of the file, in the order of hours.
func eachRecord(tx *bolt.Tx, fn func(Record) error) error {
	root := tx.Bucket(bucketEvents)
	if root == nil {
		return damaged("a bucket is missing")
	}
	return root.ForEach(func(name, value []byte) error {
		if value != nil {
			return damaged("a value lies among the hours")
		}
		return eachRecordIn(root, name, fn)
	})
}

func eachRecordIn(root *bolt.Bucket, name []byte, fn func(Record) error) error {
	b := root.Bucket(name)
	if b == nil {
		return nil
	}
	return b.ForEach(func(key, sealed []byte) error {
		var r Record
		if _, err := readRecord(name, key, sealed, &r); err != nil {
			return err
		}
		return fn(r)
	})
}

// record reads one record.
func (s *store) record(id events.EventID, p place) (r Record, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketEvents).Bucket(p.bucketName())
		if b == nil {
			return damaged("an hour is missing")
		}
		sealed := b.Get(p.key(id))
		if sealed == nil {
			return damaged("a record is missing")
		}
		_, err := readRecord(p.bucketName(), p.key(id), sealed, &r)
		return err
	})
	return r, err
}
