package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// peers is what the other servers have said to hello. One goroutine uses it.
type peers struct {
	s          *Server
	names      map[string]string // by address
	errs       map[string]error  // by address
	duplicates time.Time         // when the first errDuplicate was heard, of those that came one after the other
}

// duplicatePatience is how long a server of our name may still be connected to the others after it has crashed.
const duplicatePatience = (pingsOutMax+1)*pingEvery + claimLifetime

// ask says hello to all that are not connected.
func (p *peers) ask(ctx context.Context, connected map[string]string) {
	var wait sync.WaitGroup
	var mu sync.Mutex
	names, errs := map[string]string{}, map[string]error{}
	for _, a := range p.s.others {
		if _, ok := connected[p.names[a]]; ok {
			continue
		}
		wait.Go(func() {
			name, err := p.s.hello(ctx, a)
			mu.Lock()
			defer mu.Unlock()
			names[a], errs[a] = name, err
		})
	}
	wait.Wait()
	maps.DeleteFunc(names, func(_, name string) bool { return name == "" })
	maps.Copy(p.names, names)
	p.errs = errs
	p.s.others = slices.DeleteFunc(p.s.others, func(a string) bool { return errors.Is(errs[a], errSelf) })
}

// missing are the addresses of those that are not connected, each with the reason.
func (p *peers) missing(connected map[string]string) []string {
	var all []string
	for _, a := range p.s.others {
		name := p.names[a]
		if _, ok := connected[name]; ok && name != "" {
			continue
		}
		if name != "" {
			name = " (" + name + ")"
		}
		reason := "it is there, and is being connected"
		if err := p.errs[a]; err != nil {
			reason = err.Error()
		}
		all = append(all, a+name+": "+reason)
	}
	return all
}

// hopeless says why waiting does not help: because our name is taken, or because so many refuse that no majority is left.
func (p *peers) hopeless() error {
	refused, duplicate := 0, false
	for _, err := range p.errs {
		var r *refusal
		if errors.As(err, &r) {
			refused++
		}
		duplicate = duplicate || errors.Is(err, errDuplicate)
	}
	switch {
	case !duplicate:
		p.duplicates = time.Time{}
	case p.duplicates.IsZero():
		p.duplicates = time.Now()
	case time.Since(p.duplicates) > duplicatePatience:
		return fmt.Errorf("embedded: the name %q is taken: %s", p.s.config.Name, strings.Join(p.missing(nil), "; "))
	}
	if size := 1 + len(p.s.others); size > 1 && refused > size-majority(size) {
		return fmt.Errorf("embedded: no majority of the %d servers can be reached: %s", size, strings.Join(p.missing(nil), "; "))
	}
	return nil
}

// settle waits until nothing speaks against a start: while a server has our name, it would be disturbed.
func (p *peers) settle(ctx context.Context) error {
	again := time.NewTicker(claimLifetime / 4)
	defer again.Stop()
	for {
		p.ask(ctx, nil)
		if err := p.hopeless(); err != nil {
			return err
		}
		if p.duplicates.IsZero() {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("embedded: %w: %s", ctx.Err(), strings.Join(p.missing(nil), "; "))
		}
	}
}

func majority(size int) int { return size/2 + 1 }

// others are the peers without this server itself.
func others(ctx context.Context, all []string, own string) []string {
	var list []string
	for _, a := range all {
		if !isOwn(ctx, a, own) && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// isOwn reports whether a peer's address leads to the address at which this server listens: it has the same port, and
// its host is the same, or the name or an address of this machine.
func isOwn(ctx context.Context, address, own string) bool {
	host, port, _ := net.SplitHostPort(address)
	ownHost, ownPort, _ := net.SplitHostPort(own)
	if port != ownPort {
		return false
	}
	if host == ownHost {
		return true
	}
	if ip := net.ParseIP(ownHost); ownHost != "" && (ip == nil || !ip.IsUnspecified()) {
		return false // it listens at one address
	}
	if name, err := os.Hostname(); err == nil && (host == name || strings.HasPrefix(host, name+".")) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	local, _ := net.InterfaceAddrs()
	found, _ := net.DefaultResolver.LookupIPAddr(ctx, host)
	return slices.ContainsFunc(local, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && slices.ContainsFunc(found, func(f net.IPAddr) bool { return n.IP.Equal(f.IP) })
	})
}
