package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// kernel is its memory at an instant, in bytes.
type kernel struct {
	slab, tables, stacks int64            // of /proc/meminfo
	sockets              int64            // pages in the buffers of TCP, of /proc/net/sockstat
	slabs                map[string]cache // of /proc/slabinfo, if it may be read
}

type cache struct{ objects, bytes int64 } // in use; of one

func (k kernel) bytes() int64 { return k.slab + k.tables + k.stacks + k.sockets }

func readKernel() (k kernel, err error) {
	mem, err := fields("/proc/meminfo", "")
	if err != nil {
		return k, err
	}
	for name, into := range map[string]*int64{"Slab": &k.slab, "PageTables": &k.tables, "KernelStack": &k.stacks} {
		if *into, err = number(mem[name], 0); err != nil {
			return k, fmt.Errorf("/proc/meminfo: %s: %w", name, err)
		}
		*into <<= 10
	}
	stat, err := fields("/proc/net/sockstat", "")
	if err != nil {
		return k, err
	}
	tcp := stat["TCP"]
	if k.sockets, err = number(tcp, slices.Index(tcp, "mem")+1); err != nil {
		return k, fmt.Errorf("/proc/net/sockstat: %w", err)
	}
	k.sockets *= int64(os.Getpagesize())
	slabs, err := fields("/proc/slabinfo", "slabinfo")
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	k.slabs = map[string]cache{}
	for name, f := range slabs {
		objects, err := number(f, 0)
		if err != nil {
			continue // the line of titles
		}
		bytes, err := number(f, 2)
		if err != nil {
			return k, fmt.Errorf("/proc/slabinfo: %s: %w", name, err)
		}
		k.slabs[name] = cache{objects, bytes}
	}
	return k, err
}

// fields are the fields of each line of a file after the first, by the first
// without its colon.
func fields(path, skip string) (map[string][]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	all := map[string][]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) > 1 && f[0] != skip {
			all[strings.TrimSuffix(f[0], ":")] = f[1:]
		}
	}
	return all, lines.Err()
}

func number(f []string, i int) (int64, error) {
	if i >= len(f) {
		return 0, errors.New("too few fields")
	}
	return strconv.ParseInt(f[i], 10, 64)
}

// caches lists those that grew by about one object or more for each of n connections.
func (k kernel) caches(zero kernel, n int) string {
	var b strings.Builder
	var sum float64
	for _, name := range slices.Sorted(maps.Keys(k.slabs)) {
		c := k.slabs[name]
		each := float64(c.objects-zero.slabs[name].objects) / float64(n)
		if each < 0.45 {
			continue
		}
		sum += each * float64(c.bytes)
		fmt.Fprintf(&b, "  %-20s %5.2f of %5d B\n", name, each, c.bytes)
	}
	fmt.Fprintf(&b, "  together %.0f B; slabs, page tables, stacks and the buffers of TCP in all %d B\n",
		sum, (k.bytes()-zero.bytes())/int64(n))
	return b.String()
}
