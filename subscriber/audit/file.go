package audit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

var (
	// ErrDamaged is returned by OpenFile for a file that was changed, or whose
	// checkpoint is gone or says that lines are missing. Nothing is appended to
	// such a file: Verify says what is wrong; a new file takes up what the stream
	// still has.
	ErrDamaged = errors.New("audit file is damaged")
	// ErrInUse is returned by OpenFile while another process has the file open.
	ErrInUse = errors.New("audit file is in use")
	// ErrClosed is returned for a file that was closed.
	ErrClosed = errors.New("audit file is closed")
)

// File is an audit file that is being written. One Run or CatchUp at a time
// writes to it.
type File struct {
	path string
	torn int64

	mu  sync.Mutex // held while a batch is written: there is one writer
	f   *os.File
	at  Checkpoint
	cur cursor
	// err is the first failure. What a failed write has left behind is known only
	// by reading it again, so the file is of no more use until then.
	err error
}

// OpenFile opens an audit file to append to it, or makes it with mode 0600, with
// its checkpoint beside it in FILE.checkpoint. It reads the whole file, checks its
// chain, and remembers each message by 16 bytes, so that none is written twice:
// up to 40 MB for a million lines. Lines behind the checkpoint that a crash left
// unfinished are cut off: they were never acknowledged and will come again.
//
// The errors are ErrDamaged, ErrInUse and those of the file system.
func OpenFile(path string) (*File, error) {
	osf, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening audit file: %w", err)
	}
	f := &File{path: path, f: osf, cur: newCursor()}
	if err := f.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening audit file %s: %w", path, err), osf.Close())
	}
	return f, nil
}

func (f *File) load() error {
	if err := lock(f.f); err != nil {
		return err
	}
	cp, err := f.checkpoint()
	if err != nil {
		return err
	}
	end, err := f.scan(cp)
	if err != nil {
		return err
	}
	size, err := f.f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if f.torn = size - end; f.torn > 0 {
		if err := errors.Join(f.f.Truncate(end), f.f.Sync()); err != nil {
			return err
		}
		if _, err := f.f.Seek(end, io.SeekStart); err != nil {
			return err
		}
	}
	return nil
}

// checkpoint reads the checkpoint, or makes that of a new file. It is there before
// the first line is, so a file with lines and without one has lost it.
func (f *File) checkpoint() (*Checkpoint, error) {
	cp, err := ReadCheckpoint(f.path + checkpointSuffix)
	if !errors.Is(err, fs.ErrNotExist) {
		return cp, err
	}
	info, err := f.f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > 0 {
		return nil, fmt.Errorf("%w: its checkpoint is missing", ErrDamaged)
	}
	cp = &Checkpoint{}
	if err := cp.write(f.path + checkpointSuffix); err != nil {
		return nil, err
	}
	// Without its directory entry a power cut would take the file and every line
	// that was acknowledged.
	return cp, syncDir(filepath.Dir(f.path))
}

// scan reads the file from its beginning and gives where its last good line ends.
func (f *File) scan(cp *Checkpoint) (end int64, err error) {
	lines := newLineReader(f.f)
	for {
		b, err := lines.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
		if err := f.check(b, cp); err != nil {
			if f.at.Lines < cp.Lines {
				return 0, fmt.Errorf("%w: line %d: %w", ErrDamaged, f.at.Lines+1, err)
			}
			break // it was being written when the writer died
		}
		end += int64(len(b))
	}
	if f.at.Lines < cp.Lines {
		return 0, fmt.Errorf("%w: it has %d lines, its checkpoint says %d", ErrDamaged, f.at.Lines, cp.Lines)
	}
	return end, nil
}

// check takes the next line if it continues the chain.
func (f *File) check(b []byte, cp *Checkpoint) error {
	l, err := parseLine(b)
	if err != nil {
		return err
	}
	if l.Line != f.at.Lines+1 || l.Prev != f.at.Hash {
		return errors.New("it does not follow the line before")
	}
	hash := Hash(sha256.Sum256(b))
	if l.Line == cp.Lines && hash != cp.Hash {
		return errors.New("it is not the line that the checkpoint names")
	}
	f.at = Checkpoint{l.Line, l.Seq, hash}
	f.cur.take(l.Seq, l.digest())
	return nil
}

// append numbers, chains and writes lines. When it returns they are on disk.
func (f *File) append(lines []Line) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = f.write(lines)
	}
	return f.err
}

func (f *File) write(lines []Line) error {
	at := f.at
	var b []byte
	for i := range lines {
		b = append(b, at.link(&lines[i])...)
	}
	// A crash here leaves some of the lines, the last one torn.
	if _, err := f.f.Write(b); err != nil {
		return fmt.Errorf("writing audit file: %w", err)
	}
	if err := f.f.Sync(); err != nil {
		return fmt.Errorf("writing audit file: %w", err)
	}
	// A crash here leaves a checkpoint that is behind the file.
	if err := at.write(f.path + checkpointSuffix); err != nil {
		return err
	}
	f.at = at
	return nil
}

// link makes l the line behind the checkpoint, moves the checkpoint to it and
// gives its bytes.
func (c *Checkpoint) link(l *Line) []byte {
	l.Line, l.Prev = c.Lines+1, c.Hash
	b := l.encode()
	*c = Checkpoint{l.Line, l.Seq, sha256.Sum256(b)}
	return b
}

// Checkpoint is how far the file reaches.
func (f *File) Checkpoint() Checkpoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at
}

// failed is the failure that ended the file's use, if any.
func (f *File) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Close closes the file. All that was appended is on disk already. Close it after
// Run has returned; closing it again does nothing.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if errors.Is(f.err, ErrClosed) {
		return nil
	}
	f.err = ErrClosed
	return f.f.Close()
}
