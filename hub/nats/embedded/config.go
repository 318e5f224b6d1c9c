package embedded

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/internal/logs"
)

// Limits and defaults of Config.
const (
	PayloadBytesDefault = 8 << 20
	PayloadBytesMax     = 64 << 20
)

// Config says what server Start makes. The zero value, with a Name, is one server alone, in memory, for this process only.
type Config struct {
	// Name of the server, which no other of the cluster may have: 1 to 64 characters of [A-Za-z0-9_-]. Required. It must be
	// the same at each start with the same Dir: the others know the server by it.
	Name string

	// Dir is the directory of the store of JetStream. It is made if it does not exist. One server uses it at a time. Empty:
	// a directory of its own below os.TempDir, which Stop removes.
	Dir string

	// StoreBytesMax is how much JetStream may keep in Dir; 0: three quarters of what is free there at the start.
	// MemoryBytesMax is how much it may keep in streams in memory; 0: 256 MiB.
	StoreBytesMax  int64
	MemoryBytesMax int64

	// SyncAlways has each message written through to the disk before it is acknowledged. Without it, that is done every two
	// minutes, and a loss of power on a majority of the servers at the same time loses what was acknowledged meanwhile. The end
	// of a process loses nothing either way. It costs: one server alone on a virtual disk kept 9,500 messages a second of one who waits for each
	// without it and 520 with it, and 30,500 and 730 when 64 were on their way; three servers on one disk 2,100 and 180.
	SyncAlways bool

	// PayloadBytesMax is the size of the largest message; 0: 8 MiB, and at most 64 MiB. All servers of a cluster need the same. A stream
	// keeps messages of up to 32 MiB, with their subject and headers. A message must get from one server to another within two
	// seconds: a connection on which nothing else comes through for longer is taken for dead.
	PayloadBytesMax int

	// Listen is the address, HOST:PORT, for clients of other processes; empty: none are let in. TLS, if not nil,
	// is for them. With User, they have to know User and Password. Who comes by InProcessConn needs neither.
	Listen   string
	TLS      *tls.Config
	User     string
	Password string

	// ClusterName is the same on all servers of a cluster; empty: "sockmill". ClusterListen is the address, HOST:PORT, at which
	// this server listens for the others. Peers are the addresses at which this one reaches
	// them; its own may be among them. A server without other peers runs alone: then ClusterListen is not used.
	// All servers must list the same cluster. The first start of a cluster needs all of them but one (of two: both), later ones a
	// majority. A Dir that was used alone cannot be used in a cluster later.
	ClusterName   string
	ClusterListen string
	Peers         []string

	// ClusterPassword is the same on all servers of a cluster: who does not know it is not let in. Empty: everybody is who can reach
	// ClusterListen. ClusterTLS, if not nil, is for both sides of the connections between servers: each shows its certificate, and
	// checks that of the other one against RootCAs.
	ClusterPassword string
	ClusterTLS      *tls.Config

	// Logger gets the progress of Start and what the server logs; nil: warnings and errors go to standard error.
	Logger *zap.Logger
}

// check completes a configuration with its defaults, or says what is wrong with it.
func (c *Config) check() error {
	if !validName(c.Name) {
		return fmt.Errorf("embedded: Config.Name is %q: it must have 1 to 64 characters of [A-Za-z0-9_-]", c.Name)
	}
	if c.ClusterName == "" {
		c.ClusterName = "sockmill"
	}
	if !validName(c.ClusterName) {
		return fmt.Errorf("embedded: Config.ClusterName is %q: it must have 1 to 64 characters of [A-Za-z0-9_-]", c.ClusterName)
	}
	if c.PayloadBytesMax == 0 {
		c.PayloadBytesMax = PayloadBytesDefault
	}
	if c.PayloadBytesMax < 1 || c.PayloadBytesMax > PayloadBytesMax {
		return fmt.Errorf("embedded: Config.PayloadBytesMax is %d: it must be from 1 to %d", c.PayloadBytesMax, PayloadBytesMax)
	}
	if c.StoreBytesMax < 0 || c.MemoryBytesMax < 0 {
		return errors.New("embedded: Config.StoreBytesMax and Config.MemoryBytesMax must not be negative")
	}
	if c.MemoryBytesMax == 0 {
		c.MemoryBytesMax = 256 << 20
	}
	if (c.User == "") != (c.Password == "") {
		return errors.New("embedded: Config.User and Config.Password must both be set, or neither")
	}
	for _, a := range append([]string{c.Listen, c.ClusterListen}, c.Peers...) {
		if _, _, err := net.SplitHostPort(a); a != "" && err != nil {
			return fmt.Errorf("embedded: address %q: %w", a, err)
		}
	}
	if len(c.Peers) > 0 && c.ClusterListen == "" {
		return errors.New("embedded: Config.Peers without Config.ClusterListen")
	}
	c.Logger = logs.Bounded(c.Logger)
	return nil
}

func validName(s string) bool {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	return len(s) >= 1 && len(s) <= 64 && strings.Trim(s, allowed) == ""
}
