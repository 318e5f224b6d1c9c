package embedded

import (
	"fmt"
	"os"
)

// identity is to whom a store belongs.
type identity struct {
	Name    string `json:"name"`
	Cluster string `json:"cluster"` // empty: alone
}

// store is the directory of a server.
type store struct {
	dir       string
	temporary bool
}

func openStore(dir string, _ identity) (*store, error) {
	if dir != "" {
		return &store{dir: dir}, nil
	}
	dir, err := os.MkdirTemp("", "sockmill-nats-")
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	return &store{dir: dir, temporary: true}, nil
}

func (s *store) close() {
	if s.temporary {
		_ = os.RemoveAll(s.dir)
	}
}
