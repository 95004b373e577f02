package redistest

import (
	"slices"
	"strconv"
	"strings"
)

// node is one line of CLUSTER NODES: a node as one of them sees it.
type node struct {
	id, addr, master string // master is an id, or "-"
	flags            []string
	epoch            int
	slots            [][2]int // ranges, both ends included
}

func (n node) is(flag string) bool { return slices.Contains(n.flags, flag) }

func (n node) has(slot int) bool {
	return slices.ContainsFunc(n.slots, func(r [2]int) bool { return r[0] <= slot && slot <= r[1] })
}

// parseNodes reads the answer of CLUSTER NODES.
func parseNodes(text string) []node {
	var nodes []node
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 8 { // id, address, flags, master, ping, pong, epoch, link, slots...
			continue
		}
		addr, _, _ := strings.Cut(words[1], "@")
		n := node{id: words[0], addr: addr, flags: strings.Split(words[2], ","), master: words[3]}
		n.epoch, _ = strconv.Atoi(words[6])
		for _, word := range words[8:] {
			if strings.HasPrefix(word, "[") {
				continue // one that is being migrated
			}
			first, last, ok := strings.Cut(word, "-")
			if !ok {
				last = first
			}
			from, err1 := strconv.Atoi(first)
			through, err2 := strconv.Atoi(last)
			if err1 == nil && err2 == nil {
				n.slots = append(n.slots, [2]int{from, through})
			}
		}
		nodes = append(nodes, n)
	}
	return nodes
}
