package embedded

import (
	"crypto/subtle"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// clientGate decides which clients are let in: those of this process, and with Config.Listen those who know the password.
type clientGate struct{ config *Config }

// Check implements server.Authentication.
func (g *clientGate) Check(c server.ClientAuthentication) bool {
	if _, tcp := c.RemoteAddress().(*net.TCPAddr); !tcp {
		return true // InProcessConn
	}
	if g.config.Listen == "" {
		return false
	}
	o := c.GetOpts()
	return g.config.User == "" || equal(o.Username, g.config.User) && equal(o.Password, g.config.Password)
}

func equal(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// routeGate decides which servers are let in: those who know the password of the cluster. The user that a server gives is its name,
// and while one is connected no other of its name is let in: both would vote and acknowledge as one.
type routeGate struct {
	password string
	routes   func() map[string]string // the IDs of the servers that are connected, by name

	mu     sync.Mutex
	claims map[string]claim // by name: who was let in lately, but may not be among routes yet
}

type claim struct {
	id string
	at time.Time
}

// claimLifetime is longer than it takes a server that was let in to say its name again in the protocol.
const claimLifetime = 2 * time.Second

// Check implements server.Authentication.
func (g *routeGate) Check(c server.ClientAuthentication) bool {
	o := c.GetOpts()
	if !equal(o.Password, g.password) {
		return false
	}
	name, id := o.Username, o.Name
	if name == "" {
		return true // it asks only whether the password is right
	}
	if other, ok := g.routes()[name]; ok && other != id {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.claims, func(_ string, c claim) bool { return time.Since(c.at) > claimLifetime })
	if other, ok := g.claims[name]; ok && other.id != id {
		return false
	}
	if g.claims == nil {
		g.claims = map[string]claim{}
	}
	g.claims[name] = claim{id, time.Now()}
	return true
}
