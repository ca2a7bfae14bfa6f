/**
 * No bundle but a program of the tests: it tells what a framework has in its storage, in the framework's own words. {@link
 * org.smmd.bundles.storage.Main} answers, {@link org.smmd.bundles.storage.Snapshot} copies the storage of a framework that may be
 * running.
 */
package org.smmd.bundles.storage;
