# frozen_string_literal: true

require 'json'

module Jobs
  # Jobs that wait, the most urgent first.
  class Queue
    include Enumerable

    Job = Struct.new(:name, :priority, :options, keyword_init: true)

    def initialize(limit: 100)
      @limit = limit
      @jobs = []
    end

    def push(name, priority: 0, **options)
      raise ArgumentError, "the queue is full (#{@limit})" if @jobs.size >= @limit

      @jobs << Job.new(name: name, priority: priority, options: options)
      @jobs.sort_by! { |job| [-job.priority, job.name] }
      self
    end

    def each(&block)
      return enum_for(:each) unless block

      @jobs.each(&block)
    end

    def to_json(*args)
      map { |job| { 'name' => job.name, 'priority' => job.priority } }.to_json(*args)
    end

    def run
      until @jobs.empty?
        job = @jobs.shift
        begin
          yield job
        rescue StandardError => e
          warn "#{job.name}: #{e.message}"
        ensure
          puts job.name if job.options[:verbose]
        end
      end
    end
  end
end
