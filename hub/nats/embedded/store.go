package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// identity is to whom a store belongs. The others know a server by its name, and what it kept alone, a cluster would remove.
type identity struct {
	Name    string `json:"name"`
	Cluster string `json:"cluster"` // empty: alone
}

func (i identity) String() string {
	if i.Cluster == "" {
		return fmt.Sprintf("server %q, which runs alone", i.Name)
	}
	return fmt.Sprintf("server %q of cluster %q", i.Name, i.Cluster)
}

// store is the directory of a server, and the lock on it.
type store struct {
	dir       string
	temporary bool
	lock      *os.File // of the identity; the lock ends with the process at the latest
}

// roomBytes must be free at the start. A server without room would start, and then turn JetStream off.
const roomBytes = 1 << 20

func openStore(dir string, own identity) (*store, error) {
	s := &store{dir: dir}
	var err error
	if dir == "" {
		if s.dir, err = os.MkdirTemp("", "sockmill-nats-"); err != nil {
			return nil, fmt.Errorf("embedded: %w", err)
		}
		s.temporary = true
	}
	if err = s.open(own); err != nil {
		s.close()
		return nil, fmt.Errorf("embedded: Config.Dir: %w", err)
	}
	return s, nil
}

func (s *store) open(own identity) error {
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return err
	}
	name := filepath.Join(s.dir, "server.json")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	s.lock = f
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("%s is used by another server", s.dir)
	}
	if err := s.room(); err != nil {
		return fmt.Errorf("there is no room: %w", err)
	}
	var was identity
	switch err := json.NewDecoder(f).Decode(&was); {
	case err != nil: // it is new, or the one who made it was interrupted
		return writeIdentity(f, own)
	case was != own:
		return fmt.Errorf("%s belongs to %v: this is %v", s.dir, was, own)
	}
	return nil
}

func (s *store) room() error {
	f, err := os.CreateTemp(s.dir, ".room-")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, roomBytes))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

func writeIdentity(f *os.File, own identity) error {
	data, err := json.Marshal(own)
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt(append(data, '\n'), 0); err != nil {
		return err
	}
	return f.Sync()
}

func (s *store) close() {
	if s.lock != nil {
		_ = s.lock.Close()
	}
	if s.temporary {
		_ = os.RemoveAll(s.dir)
	}
}
