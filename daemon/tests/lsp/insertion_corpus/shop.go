// Package shop keeps orders in memory.
package shop

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
)

// ErrUnknown says that there is no such order.
var ErrUnknown = errors.New("unknown order")

// State of an order.
type State int

const (
	Open State = iota
	Paid
	Sent
)

// String names a state.
func (s State) String() string {
	switch s {
	case Open:
		return "open"
	case Paid:
		return "paid"
	default:
		return fmt.Sprintf("state %d", int(s))
	}
}

// Line of an order.
type Line struct {
	Name  string  `json:"name"`
	Count int     `json:"count"`
	Price float64 `json:"price"`
}

// Order has lines.
type Order struct {
	ID    string
	State State
	Lines []Line
}

// Total of all lines, in euros.
func (o *Order) Total() float64 {
	sum := 0.0
	for _, line := range o.Lines {
		sum += float64(line.Count) * line.Price
	}
	return sum
}

// Store keeps orders by their ID.
type Store struct {
	mutex  sync.RWMutex
	orders map[string]*Order
}

// NewStore makes an empty one.
func NewStore() *Store {
	return &Store{orders: map[string]*Order{}}
}

// Add keeps an order; an ID is used once.
func (s *Store) Add(order *Order) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if order.ID == "" || strings.ContainsAny(order.ID, "/ ") {
		return fmt.Errorf("%q is no ID", order.ID)
	}
	if _, exists := s.orders[order.ID]; exists {
		return fmt.Errorf("order %s exists: %w", order.ID, errors.ErrUnsupported)
	}
	s.orders[order.ID] = order
	return nil
}

// Find an order.
func (s *Store) Find(id string) (*Order, error) {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	order, ok := s.orders[id]
	if !ok {
		return nil, fmt.Errorf("%s: %w", id, ErrUnknown)
	}
	return order, nil
}

// Largest orders first, at most so many.
func (s *Store) Largest(limit int) []*Order {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	found := make([]*Order, 0, len(s.orders))
	for _, order := range s.orders {
		found = append(found, order)
	}
	sort.Slice(found, func(i, j int) bool {
		return found[i].Total() > found[j].Total()
	})
	if len(found) > limit {
		found = found[:limit]
	}
	return found
}

// Watch sends the totals of orders that are paid, until done is closed.
func (s *Store) Watch(paid <-chan string, done <-chan struct{}) <-chan float64 {
	totals := make(chan float64, 1)
	go func() {
		defer close(totals)
		for {
			select {
			case id := <-paid:
				if order, err := s.Find(id); err == nil {
					order.State = Paid
					totals <- order.Total()
				}
			case <-done:
				return
			}
		}
	}()
	return totals
}
